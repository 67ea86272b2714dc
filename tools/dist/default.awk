# Prints /etc/default/dflockd from the tables of tools/man/flags.awk: every variable, as a comment.
END {
    print "# Options of the lock server, read by dflockd.service. Remove the # of the options that you set,"
    print "# then: systemctl restart dflockd. The values are the server's defaults. The unit also sets"
    print "# DFLOCKD_FENCE_STATE_FILE, so that fences rise across restarts. See dflockd(8)."
    for (i = 1; i <= flag_count[""]; i++) {
        at = "" SUBSEP flags["", i]
        if (variable[at] == "" || text[at] ~ /^Not supported/)
            continue
        print ""
        print "# " text[at]
        print "#" variable[at] "=" initial[at]
    }
}
