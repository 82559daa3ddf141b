"""Statistics of a comparison of networks over paired seeds.

`paired` compares a condition with the baseline seed by seed, `family` corrects the declared tests and gives
verdicts, `survival` compares learning speed, `dose` finds the best level of heterogeneity, `mixed` separates
networks from seeds, `power` says what could have been found. All take numbers, not files.
"""
