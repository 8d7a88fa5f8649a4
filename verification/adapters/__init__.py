"""Released software as backends, a file for each package. Importing the file of a package that is not installed raises
ImportError.
"""
