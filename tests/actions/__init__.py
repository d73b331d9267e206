"""Running the GitHub Action outside GitHub: its expressions evaluated, its steps run as they stand in `action.yml`."""
