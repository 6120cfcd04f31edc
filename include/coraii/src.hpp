// SPDX-License-Identifier: BSL-1.0
#ifndef CORAII_SRC_HPP
#define CORAII_SRC_HPP

#include "coraii/detail/coroutine/platform.hpp"  // first: it says what is missing

/// The bodies of functions that are no templates, for programs that compile them once: each source of such a program is compiled with
/// CORAII_SEPARATE_COMPILATION defined, and one of them includes this header.
///
/// Files are part of it where there are any; databases are not, since their libraries may not be linked: for these, include
/// <coraii/sqlite/src.hpp> or <coraii/postgres/src.hpp> beside it. Asio's own BOOST_ASIO_SEPARATE_COMPILATION is
/// independent of this. Macros that change Asio or coraii must be the same in all sources.

#if !defined(CORAII_SEPARATE_COMPILATION)
#error "coraii/src.hpp is for programs all of whose sources are compiled with CORAII_SEPARATE_COMPILATION"
#endif

#include "coraii/coraii.hpp"
#include "coraii/detail/context/impl/cleanup_reports.ipp"
#include "coraii/detail/context/impl/external_wait.ipp"
#include "coraii/detail/context/impl/registry.ipp"
#include "coraii/detail/context/impl/thread_slots.ipp"
#include "coraii/detail/region/impl/region.ipp"
#include "coraii/detail/workers/impl/worker_pool.ipp"
#include "coraii/impl/error.ipp"
#include "coraii/session/impl/arrays.ipp"
#include "coraii/session/impl/chrono.ipp"
#include "coraii/session/impl/error.ipp"
#include "coraii/session/impl/rows.ipp"
#include "coraii/session/impl/value.ipp"

#if !defined(_WIN32)
#include "coraii/file/detail/impl/file_operation.ipp"
#include "coraii/file/impl/atomic_file.ipp"
#include "coraii/file/impl/handle.ipp"
#include "coraii/file/impl/lock_file.ipp"
#include "coraii/file/impl/temp_file.ipp"
#include "coraii/impl/file.ipp"
#endif

// The templates that everybody instantiates so.
template class coraii::detail::scope_executor<boost::asio::any_io_executor>;
template class coraii::detail::scope_deadline<boost::asio::any_io_executor>;
template class coraii::detail::scope_coroutine<boost::asio::any_io_executor>;
template class coraii::detail::scope_core<boost::asio::any_io_executor>;
template class coraii::detail::unstarted_scope<boost::asio::any_io_executor>;
template class coraii::detail::scope_use<boost::asio::any_io_executor>;
template class coraii::detail::scope_frame<boost::asio::any_io_executor>;
template class coraii::basic_exit_stack<boost::asio::any_io_executor>;

#endif
