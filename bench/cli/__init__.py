"""The command line: one file a command. Arguments in, text and exit codes out; decides nothing itself."""
