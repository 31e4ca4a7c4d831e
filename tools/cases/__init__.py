"""What users meet: image files and commands on which an image codec can go wrong, see ``__main__``."""
