"""One recipe per file, `<action>.py`, as a constant named RECIPE. Every file in this folder is imported at start-up."""
