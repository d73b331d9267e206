"""The facts about distributions as their files have them: read, held against a day, and against mirrors."""
