"""Writes a language model of a few hundred kilobytes with random weights, in the GGUF format.

It answers with random letters, always the same ones for the same seed. A server treats it like any other model.

    python tiny_model.py path/to/tiny.gguf
"""

import sys

import gguf
import numpy

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 32768
# Tool calls are written as many models write them; from this the server learns how to read them.
TEMPLATE = (
    "{% if tools %}<|system|>Tools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{% if message.content %}{{ message.content }}{% endif %}"
    "{% for call in message.tool_calls %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
# One token, so that a request can ask for it: random letters never come to it.
CALL = "<tool_call>"


def byte_letters():
    """The 256 letters that stand for the bytes in a byte-level vocabulary: printable ones for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters.update({byte: chr(256 + at) for at, byte in enumerate(others)})
    return [letters[byte] for byte in range(256)]


def main(path):
    tokens = [*byte_letters(), "\u0120t", "he", *SPECIAL, CALL]
    end = tokens.index("<|end|>")
    kinds = [gguf.TokenType.NORMAL] * end + [gguf.TokenType.CONTROL] * len(SPECIAL)
    kinds.append(gguf.TokenType.USER_DEFINED)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["\u0120 t", "h e"])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    random = numpy.random.default_rng(7)

    def weights(rows, columns, scale=0.1):
        return (random.standard_normal((rows, columns)) * scale).astype(numpy.float32)

    # Every token has the same strong first coordinate, by which the last layer can tell likely tokens from others.
    embedding = weights(len(tokens), WIDTH, 0.3)
    embedding[:, 0] = 6.0
    writer.add_tensor("token_embd.weight", embedding)
    output = weights(len(tokens), WIDTH, 0.3)
    output[:, 0] = -3.0
    likely = [ord(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] + [256, 257, end]
    output[likely, 0] = 0.0
    # Held to a schema, a model that likes blanks would write nothing else between two tokens.
    output[[9, 10, 13, 32], 0] = -9.0
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    for layer in range(LAYERS):
        for name, rows, columns in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", INNER, WIDTH),
            ("ffn_up", INNER, WIDTH),
            ("ffn_down", WIDTH, INNER),
        ]:
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(rows, columns))
        for name in ["attn_norm", "ffn_norm"]:
            writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(WIDTH, dtype=numpy.float32))

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1])
