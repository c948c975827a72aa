"""The services, a package each.

A process of one makes hundreds of thousands of objects while it imports, and keeps nearly all of them. Python's cycle
collector would look through them again and again, which takes a tenth of the time until the process is there. So it
looks seldom from the first import on. `events.service.spare_collections` keeps it so; an agent goes back to Python's
own way, to stay small.
"""

import gc

gc.set_threshold(100_000, 50, 100)
