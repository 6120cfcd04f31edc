# Overloads that are there to be refused, by a static_assert that says why, are no part of the reference.
s@^( *)(.*\) & \{)$@\1/// \\private\n\1\2@
s@^(auto enter\(async_scope<T, Executor>&\) \{)$@/// \\private\n\1@
# Each heading of a contract begins a paragraph.
s@^( *)/// ((Preconditions|Effects|Cancellation|Errors|Executor|Lifetime|Thread safety|Exception safety|Handler signature|Fork|Memory|Limits)[^:`]{0,40}):@\1/// \\par \2\n\1///@
# Doxygen cannot place specializations for others.
/^template <>$/{
N
s@^template <>\nstruct boost::.*$@@
}
