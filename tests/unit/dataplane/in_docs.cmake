# The page prints the example as it is built.
file(READ ${EXAMPLE} example)
file(READ ${PAGE} page)
string(FIND "${page}" "${example}" at)
if(at LESS 0)
  message(FATAL_ERROR "${PAGE} does not hold ${EXAMPLE} as it is: copy it there")
endif()
