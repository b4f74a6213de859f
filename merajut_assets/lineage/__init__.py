"""Where every column comes from, and the proof that what is published tells about nobody."""
