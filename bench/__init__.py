"""What the archive must reach, measured: each figure a ratio to something of the same run, so that it holds anywhere.

Servers run in processes of their own, the load comes from this one, over loopback. Ours and the reference take turns;
the figure is the median of the rounds.
"""
