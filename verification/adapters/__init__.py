"""Released software as backends, a file a package. A package that is not installed is an ImportError here."""
