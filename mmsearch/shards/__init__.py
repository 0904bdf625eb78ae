"""SHARDS: what is known of pictures, and their vectors, as Parquet files that go from machine to machine."""
