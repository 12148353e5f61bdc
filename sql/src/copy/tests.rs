//! COPY in every format, in pieces of any size.
