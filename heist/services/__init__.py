"""The services: rooms behind one door with one guard.

A service's method takes the verified `Principal` first and asks it before anything else; the HTTP route over it only
translates. There is no second way in.
"""
