"""Cold start: priors for new users and items, and questionnaires for new users.

Both work on models and histories by row number. `Recommender.with_priors` and `UserView.questions` call them by id.
"""

from cofactor.cold_start.priors import learn_priors, supports_priors
from cofactor.cold_start.questionnaire import Population, Questionnaire

__all__ = ["Population", "Questionnaire", "learn_priors", "supports_priors"]
