"""Cold start: priors for new users and items, and questionnaires for new users.

Both work with row numbers of models and histories. `Recommender.with_priors` and `UserView.questions` provide the same
features with IDs.
"""

from cofactor.cold_start.item_weights import add_item_weights
from cofactor.cold_start.priors import learn_priors, supports_priors
from cofactor.cold_start.questionnaire import Population, Questionnaire

__all__ = ["Population", "Questionnaire", "add_item_weights", "learn_priors", "supports_priors"]
