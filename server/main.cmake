# The binary: app, commands, and every room.
file(GLOB commands CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cmd_*.c)
add_executable(trimtab main.c cli.c client.c app.c app_engine.c app_inbox.c app_rules.c app_state.c app_status.c app_tick.c explain/print.c explain/recorded.c
  ${commands})
target_compile_definitions(trimtab PRIVATE TRIMTAB_VERSION="${PROJECT_VERSION}")
target_link_libraries(trimtab PRIVATE backtest rehearse plant http explain replay record source wires mesh store config rules PkgConfig::CURL PkgConfig::JANSSON
  PkgConfig::EVENT PkgConfig::MHD PkgConfig::PCRE2 PkgConfig::SQLITE Threads::Threads)
install(TARGETS trimtab RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
