"""Victims: the models that a stress test puts films to, wherever they run, on one interface."""
