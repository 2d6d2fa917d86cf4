"""The container image of all processes, made from Debian's and Python's packages: no registry of images, no engine.

Runs from a checkout (`make image`); it imports nothing of ours and nothing that Python does not bring.
"""
