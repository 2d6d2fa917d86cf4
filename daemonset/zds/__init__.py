"""The enrolment protocol as the agent serves it: which pods there are, and their network namespaces."""
