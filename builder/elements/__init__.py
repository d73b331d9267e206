"""Elements as a person looks at them: what there is, and what is wrong with one."""
