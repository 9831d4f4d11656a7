"""LangChain over the real service: a retriever whose documents carry provenance, and an answerer in a chain."""

import asyncio

import pytest
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from api.langchain import MmkgAnswerer, MmkgRetriever

pytestmark = pytest.mark.models


def test_documents_carry_source_page_span_picture_and_scores(samples_service):
    retriever = MmkgRetriever(service=samples_service, workspace="demo", k=5)

    documents = retriever.invoke("In which town was the harbour bell cast?")

    best = documents[0]
    assert best.metadata["name"] == "harbour-letter.pdf"
    assert best.metadata["page"] == 1
    assert best.metadata["asset"] is not None
    start, end = best.metadata["span"]
    assert end - start == len(best.page_content)
    assert best.metadata["contributions"]
    assert "Osterby" in best.page_content


def test_the_asynchronous_form_returns_the_same(samples_service):
    retriever = MmkgRetriever(service=samples_service, workspace="demo", k=4)

    async def ask():
        return await retriever.ainvoke("Who was the first keeper?")

    assert asyncio.run(ask()) == retriever.invoke("Who was the first keeper?")


def test_a_filter_binds_the_retriever(samples_service):
    retriever = MmkgRetriever(service=samples_service, workspace="demo", documents=("energy-notes.txt",))

    assert {d.metadata["name"] for d in retriever.invoke("harbour")} == {"energy-notes.txt"}


def test_the_retriever_takes_its_place_in_an_lcel_chain(samples_service):
    retriever = MmkgRetriever(service=samples_service, workspace="demo", k=4)
    join = RunnableLambda(lambda documents: "\n".join(d.page_content for d in documents))
    chain = {"context": retriever | join, "question": RunnablePassthrough()} | RunnableLambda(
        lambda value: f"{value['question']}\n{value['context']}"
    )

    prompt = chain.invoke("Who leads the counts of birds?")

    assert prompt.startswith("Who leads the counts of birds?\n")
    assert "Ylva Sandberg" in prompt


def test_the_answerer_is_a_runnable_sync_and_async(samples_service):
    answerer = MmkgAnswerer(service=samples_service, workspace="demo")

    answer = (answerer | RunnableLambda(lambda value: value)).invoke("Who founded the Velmara Ferry Company?")

    assert answer["status"] == "answered"
    assert answer["citations"][0]["name"] == "ferry-company.md"
    later = asyncio.run(answerer.ainvoke("Who founded the Velmara Ferry Company?"))
    assert later["answer"] == answer["answer"]
