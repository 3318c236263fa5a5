"""Which instances to launch, of which offerings, so that pending tasks are held at the least price.

`solve.plan(problem, budget)` is the whole of it: what there is to hold and to launch goes in, launches with what each
instance holds come out, and a lower bound that is proved. Pure: frozen values in, frozen values out, and no clock but
the one that is handed in to cut off extremes.
"""
