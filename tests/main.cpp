#define CATCH_CONFIG_RUNNER  // version 2: Catch's code goes here
#include "catch.hpp"

int main(int argc, char* argv[]) { return Catch::Session().run(argc, argv); }
