"""System checks, tagged `tasker`: written below."""
