"""One job per file, `<job_name>.py`. Every file in this folder is imported at start-up."""
