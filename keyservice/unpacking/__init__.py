"""Workbooks and archives, which are read in a process of their own: what is wrong with them ends that process at the most.

The child has no secrets, no database and no settings. It is given a file that it can only read, and answers with frames.
"""
