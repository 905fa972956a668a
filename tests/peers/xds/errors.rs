//! What is wrong, missing or away: the same for all, and what each makes of it.
