"""The ground floor: errors, shape checks, families, linear algebra policy, randomness, blocks.

Nothing here imports another room of trivium.
"""
