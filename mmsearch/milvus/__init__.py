"""Libraries in a Milvus collection: what `mmsearch.store.base` asks for, answered by an engine at an address."""
