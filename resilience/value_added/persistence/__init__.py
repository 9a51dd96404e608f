"""Effects of teachers on the results of later years."""

from resilience.value_added.persistence.links import TeacherLinks
from resilience.value_added.persistence.model import PersistenceModel
from resilience.value_added.persistence.results import PersistenceResults

__all__ = ["PersistenceModel", "PersistenceResults", "TeacherLinks"]
