"""Shadow scores of a made-up model that knows its records by a known amount."""

from fedcomp.audit.shadow_models import ShadowScores, random_halves


def made_up(effect, rng, models=16, records=4000, population=3000, spread=4.0):
    """Return shadow scores, and the attacked model's members and scores of records and of the population.

    Records differ in how easy they are, by ``spread``; being trained on raises a score by ``effect`` deviations.
    """
    easy, easy_other = spread * rng.normal(size=records), spread * rng.normal(size=population)
    included = random_halves(models, records, rng)
    members = rng.permutation(records) < records // 2
    scores = easy + effect * included + rng.normal(size=included.shape)
    shadows = ShadowScores(scores, included, easy_other + rng.normal(size=(models, population)))
    target = easy + effect * members + rng.normal(size=records)
    return shadows, members, target, easy_other + rng.normal(size=population)
