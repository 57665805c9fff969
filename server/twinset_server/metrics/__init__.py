"""What a server counts of itself, for Prometheus.

Each process counts in files of its own (`prometheus_client.multiprocess`), and one scrape reads those of all.
"""
