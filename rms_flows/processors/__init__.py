"""Room of the house; see CONTRIBUTING.md."""
