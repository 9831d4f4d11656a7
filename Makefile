lint:
	ruff check .
	ruff format --check .
	mypy
	pydoclint kg retrieval generation moe_backbone api
	lint-imports
