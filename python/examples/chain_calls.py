"""A chain of two calls with a step in Python between them, streamed."""

import fanweave as fw

model = fw.model("sim/writer")


def shorten(outline: str) -> dict[str, str]:
    return {"outline": outline[:200]}


article = (
    fw.prompt("Write an outline of an article on {{ topic }}.")
    | model
    | fw.text()
    | shorten
    | fw.chat().system("You write short articles.").user("Write the article: {{ outline }}")
    | model
    | fw.text()
)

for piece in article.stream({"topic": "tidal power"}):
    print(piece, end="", flush=True)
print()
print(article.mermaid())
