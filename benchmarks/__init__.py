"""What the estimators cost, beside the limit, beside code written by hand, and beside other packages. See README.md."""
