"""What only the preparation talks to: elastix and N4 (SimpleITK), and the files of an intake."""
