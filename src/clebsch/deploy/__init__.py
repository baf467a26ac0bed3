"""Potentials inside the engines that use them."""
