/// \file
/// `std::stop_token` and its kin, or our own of the same interface where the standard library has none.
#pragma once

#include <version>

#ifdef __cpp_lib_jthread
#include <stop_token>
#else  // libc++ before 20 without -fexperimental-library
#include <clockworker/detail/stop_token_fallback.hpp>
#endif

namespace clockworker {

#ifdef __cpp_lib_jthread
using std::nostopstate;
using std::nostopstate_t;
using std::stop_callback;
using std::stop_source;
using std::stop_token;
#else
using detail::own::nostopstate;
using detail::own::nostopstate_t;
using detail::own::stop_callback;
using detail::own::stop_source;
using detail::own::stop_token;
#endif

}  // namespace clockworker
