"""The record of a rung: its model card, its environment, its samples, its run on an MLflow server."""
