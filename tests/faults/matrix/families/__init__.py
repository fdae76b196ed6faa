"""The faults, one file for each family; every module here is imported by the test that runs them."""
