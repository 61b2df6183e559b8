"""heist: a crew of language-model agents plans a bank heist, in one process.

The house has floors. A room (a module or a package of this folder) uses rooms on lower lines, never one above, never
one beside; inside a package siblings may use each other, without a ring. Data goes down by call and comes up as events.

    cli                                    put it on a command line
    app                                    put it on a port
    checkup                                look at every part
    web  runtime                           show one session; build every part once
    agents                                 the crew, its turns, its orchestrator
    services                               who may do what, the tools, what is remembered
    llm  store  world  bus                 models, the audit, the bank, who listens
    switches  origins                      what is switched on; where a setting comes from
    telemetry                              what took how long, for those who run it
    settings  events  clock  seeds         the words that every room speaks
    configfile                             a file, read or refused in one sentence
    errors  later                          what can go wrong; work that nobody waits for

`tests/test_floors.py` reads this table and holds every import in the tree to it.
"""

__version__ = "0.1.0"
