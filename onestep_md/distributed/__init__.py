"""Energy evaluators in other processes and on other machines; the only folder that knows Ray."""
