"""Turns image networks into models for Triton."""
