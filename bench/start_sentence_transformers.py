"""sentence-transformers, from its start to the similarity of two texts: a peer for compare.py's
work "start".

usage: bench/start_sentence_transformers.py MODEL_DIR TEXT TEXT
"""
import sys

from sentence_transformers import SentenceTransformer

folder, *texts = sys.argv[1:]
vectors = SentenceTransformer(folder, device="cpu").encode(texts, normalize_embeddings=True)
print(float(vectors[0] @ vectors[1]))
