//! Both ways of INSERT, over one corpus.
