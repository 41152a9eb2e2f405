"""What runs when: scheduler, runs and their log."""
