"""The storm: passes, worker and database killed at random under load, and the judge of what they leave behind."""
