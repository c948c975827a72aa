"""Tells people what a context's events say that they should know: each notice once, on the channels that are set.

A context has a table of notices (`rows.NOTICES`), which its projection fills, and the background `notifier.notify`,
which sends them. `queries.NoticeList` answers what became of each.
"""
